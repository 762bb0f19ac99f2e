"""What becomes of rows: tables, plots, the HTML report and the regression gate."""
