"""The playground: a page that shows what trained runs predict, attend to and generate.

inspect.py, translating.py   the answers to the page's requests, computed by a trained run
describe.py                  a run's records as the page shows them
run_list.py                  the runs that the page offers, opened on demand
trainings.py                 the trainings that the page starts
requests.py                  the requests and their limits
sample.py                    streamed text, until the reader disconnects
app.py, server.py            the server
static.py                    the page without a server: onnxruntime-web computes the answers instead
assets.py, page/             the page itself: HTML, CSS and ES modules, starting with main.js
"""
