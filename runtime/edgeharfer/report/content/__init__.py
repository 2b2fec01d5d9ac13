"""What a report says, as blocks that `report.pdf` and `report.html` draw."""
