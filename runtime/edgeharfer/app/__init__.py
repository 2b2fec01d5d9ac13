"""The web app: live view, analysis of uploads and recordings, in a browser on this machine or a trusted one.

camera ──> live ──> feed ────┐                     browser
                             ├─> routes ─> server ─> (one page, no third party)
upload ──> jobs ──> worker ──┘
"""
