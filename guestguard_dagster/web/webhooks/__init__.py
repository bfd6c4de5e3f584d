"""What providers call: verified, written down, acknowledged. What a callback means is decided in delivery."""
