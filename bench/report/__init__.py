"""What is derived from records: tables, and later plots and pages."""
