"""What is derived from records: tables, statistics, figures and the HTML page."""
