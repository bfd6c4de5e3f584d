"""How fast, how small and how punctual the product is, next to yardsticks on the same machine: `make bench`.

One module per question, each with a `measure` that returns a Section. Nothing here is imported by the product.
"""
