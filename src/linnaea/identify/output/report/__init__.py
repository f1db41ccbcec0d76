"""The report of a run as a page: `html_report` writes it, `photo_cards` turns rows into what its script shows.

`report.js` and `report.css` are the script and the style sheet of the page.
"""
