"""The page of ``mav serve``: make videos in a browser, one after the other, and find them again."""

import os

# Gradio reads these when it is imported, or when a page is built.
_GRADIO = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # no usage statistics are sent, and no newer version is looked for
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",  # no statistics of all calls are computed after each call:
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000",  # they would take time from the videos
}
for _name, _value in _GRADIO.items():
    os.environ.setdefault(_name, _value)
