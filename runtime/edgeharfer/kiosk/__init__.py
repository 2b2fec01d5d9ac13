"""The kiosk: a service that runs unattended, tells decisions to a broker and keeps to the law."""
