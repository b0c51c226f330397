"""The command `engineio`: connect, ping, serve and bench, described in docs/command-line.md.

It uses the package as everybody does, through `import engineio`, and nothing imports it but
`engineio.__main__`.  What it needs besides is in the extra `cli`.
"""
