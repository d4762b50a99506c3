"""Trajectories written elsewhere: files of texts with fences, or of chats with tool turns, become rows of our tables.

`transcript` reads a text, `turns` a chat, `rows` one row of a file, `files` all of them.
"""
