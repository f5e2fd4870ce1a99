"""The playground: a page that shows what trained runs expect, look at and write.

looking.py, translating.py   what the page asks for, as functions of a trained run
describing.py                what it shows of a run's records
catalogue.py                 the runs that it can choose from, opened when they are asked for
requests.py                  what a request may ask for, with limits
writing.py                   text as it is written, until the reader leaves
app.py, guard.py, server.py  these over HTTP
static.py                    the page without a server: onnxruntime-web computes what the server would
assets.py, page/             the page itself: HTML, CSS and ES modules, which begin with main.js
"""
