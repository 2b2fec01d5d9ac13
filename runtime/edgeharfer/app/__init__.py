"""The web app: live view, analysis of uploads and recordings, in a browser on this machine or a trusted one.

camera ──> live ──> screen ──┐                   browser
                             ├─> site ─> guard ─> (one page, no third party)
upload ──> jobs ──> worker ──┘
"""
