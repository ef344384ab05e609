"""What the black-box tests share: a server under test, a strict client, and ASGI applications."""
