"""A load generator for any server that speaks one of triptych's three protocols by gRPC.

closed_loop.py   so many requests in flight for so long; what came of it
calls.py         one request's way over gRPC, alone or on a stream
plan.py          what is sent, once it has been asked what the model takes
triptych_v1.py, open_inference.py, tensorflow_serving.py   one protocol each
examples.py      made-up inputs and tensors; files and texts

As it takes its share of the machine that it measures, a request is serialised once and sent as
bytes, and of the answers only a sample is read. Nothing here imports TensorFlow.
"""
