"""The page of ``mav serve``: make videos in a browser, one after the other, and find them again."""
