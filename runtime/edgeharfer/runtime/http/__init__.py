"""A small HTTP/1.1 server with resource limits, for the web view of `run`, the kiosk and the web app.

listener ──> server ──> connection ──> handler (a Router or a wrapper of one)
             limits     head, body,    Request in, Response out, HttpError for an error response
                        deadlines
"""
