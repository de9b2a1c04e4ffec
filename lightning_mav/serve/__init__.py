"""The page of ``mav serve``: make videos in a browser, one after the other, and find them again."""

import os

# Gradio reads these when it is imported, or when a page is built.
_GRADIO = {
    "GRADIO_ANALYTICS_ENABLED": "False",  # it tells nobody of its use, and asks nobody for a newer version
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",  # nor does it compute statistics of all calls after each call,
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000",  # which would take time from the videos
}
for _name, _value in _GRADIO.items():
    os.environ.setdefault(_name, _value)
