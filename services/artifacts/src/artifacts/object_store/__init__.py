"""The S3 store: PUT of whole objects, ranged GET, HEAD, LIST and DELETE."""
