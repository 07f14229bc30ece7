"""The page at `/` of both endpoints, for people: plain HTML, CSS and JavaScript modules, which ask nothing of any other host."""
