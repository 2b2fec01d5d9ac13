"""The kiosk: an unattended service that publishes decisions by MQTT and enforces privacy rules."""
