"""The kiosk: a service that runs unattended, publishes decisions to a broker and follows the law."""
