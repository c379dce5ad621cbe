"""Pixels: one image at a time, read rightly and written plainly; no folder, no data set.

    bytes --open--> Picture --upright--> image --rgb--> RGB image --resize--> RGB image --encode--> bytes
      |                                                     `--dhash--> 64 bits                       |
      `---------------------------------- shrink: all of it, fast -----------------------------------'

limits      formats that may be opened, and how many pixels
open        bytes -> Picture (first frame, as stored) or ImageError with a reason code
turbo       plain JPEGs by simplejpeg where it is installed: the same pixels, faster
memory      Pillow's pixels as an array without a copy
reasons     what a decoder said -> reason code
quiet       Pillow's warnings kept away from the user's terminal, thread by thread
upright     EXIF orientation applied once
rgb         any stored mode -> 8-bit RGB; 16-bit scaled, transparency composited
geometry    what of a picture is seen, at which size, on how large a canvas
resize      Pillow's filters, and torch's uint8 antialiased kernel beside them
resample    Pillow's filter taps for a box inside an array, in torch
encode      RGB -> JPEG, PNG or WebP bytes without metadata
shrink      file bytes -> file bytes of a subset; also the check that a file decodes whole
dhash       64-bit difference hash

Importing it never imports torch; only a resize with the torch backend does.
"""
