"""The commands: one file a command (parse, one call, print), on one frame that prints, fails and exits alike.

main.py      the table of commands, loaded on first use; the entry point
frame.py     the decorator that makes a function a command
options.py   the options that several commands share, spelt once
screen.py    what reaches the two streams: results, hints, warnings, errors, JSON
text.py      strange characters made visible, signs a terminal lacks replaced
progress.py  a bar on a terminal, a line now and then elsewhere
torch_process.py  what is set before torch is loaded
"""
