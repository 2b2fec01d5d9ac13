"""A small bounded HTTP/1.1 server: the web view of `run`, the kiosk's port and the web app use it.

listener ──> server ──> connection ──> handler (a Router, or what wraps one)
             limits     head, body,    Request in, Response out, HttpError for a refusal
                        deadlines
"""
