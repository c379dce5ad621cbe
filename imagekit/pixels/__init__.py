"""Pixels: one image at a time, read rightly and written plainly; no folder, no data set.

    bytes --open--> Picture --upright--> image --rgb--> RGB image --resize--> RGB image --encode--> bytes
                                                            `--dhash--> 64 bits

limits      formats that may be opened, and how many pixels
open        bytes -> Picture (first frame, as stored) or ImageError with a reason code
reasons     what a decoder said -> reason code
quiet       Pillow's warnings kept away from the user's terminal, thread by thread
upright     EXIF orientation applied once
rgb         any stored mode -> 8-bit RGB; 16-bit scaled, transparency composited
resize      Pillow's filters, and torch's uint8 antialiased kernel beside them
resample    Pillow's filter taps for a box inside an array, in torch
encode      RGB -> JPEG, PNG or WebP bytes without metadata
dhash       64-bit difference hash

Importing it never imports torch; only a resize with the torch backend does.
"""
