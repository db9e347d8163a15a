"""What the black-box tests share: starting a server, talking RESP to it, writing a transcript down."""
