"""What providers tell about a mail or text after it left."""
