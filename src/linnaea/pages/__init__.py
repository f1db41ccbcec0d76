"""The HTML report kit: one style (light, dark, print), one page skeleton, tables, figures and charts.

A report is one file that opens offline. `page` writes it, `elements` are its building blocks, `style` holds the colours
and the style sheet. Charts are matplotlib figures as inline SVG (`chart`, `line_chart`, `bar_chart`, `map_chart`);
`time_lapse` plays maps. Matplotlib comes with the extra `twin` and is imported when the first chart is drawn; pages
without charts need neither.
"""
