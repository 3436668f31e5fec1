"""Other people's weights, carried into our networks, and nothing of theirs run but Keras itself.

torch_file.py          a PyTorch file -> arrays, without PyTorch
carry.py               arrays -> a network, by a table of names; refuses what doesn't fit wholly
keras_applications.py  the tables for keras.applications
torch_state.py         the tables for PyTorch's state dicts, and its order of axes
"""
