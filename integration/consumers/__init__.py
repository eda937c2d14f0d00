"""Programs of others that read `.tflite`: do they accept what `export` writes, and agree with it?

`make consumers` installs them, `pytest -m slow integration/consumers` asks them about every model,
and `python -m integration.consumers.report` writes docs/consumers.md.
"""
