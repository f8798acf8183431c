"""Says why there are no numbers, or not the expected ones: `tallyship-exporter doctor`.

`gather.py` looks (files, processes, ports, the running exporter) and returns `facts.py`; `checks.py` and
`checks_project.py` judge them without looking; `report.py` writes for a person.
"""
