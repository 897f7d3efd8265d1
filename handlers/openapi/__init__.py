"""The description of the whole HTTP surface (OpenAPI 3.1), as it is served at /openapi.json.

What belongs here: the four parts as YAML, and what puts them together. Limits, patterns and enumerations are written
as `=NAME` and filled in from the code that holds them; what is not described here, a test refuses to let be served.
"""
