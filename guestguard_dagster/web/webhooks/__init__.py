"""What providers call: verified, written down, acknowledged. What a callback means is decided in delivery.

One module for each provider that calls back, under the provider's name.
"""
