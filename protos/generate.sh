#!/bin/sh
# Generate the Python modules beside the .proto files (make protos).
#   protos/generate.sh [OUT]      default: the repository itself
set -eu
cd "$(dirname "$0")/.."
out=${1:-.}
python -m grpc_tools.protoc --proto_path=. --python_out="$out" --mypy_out=quiet:"$out" protos/triptych/v1/manifest.proto
python -m grpc_tools.protoc --proto_path=. --python_out="$out" --mypy_out=quiet:"$out" \
  --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" protos/triptych/v1/classifier.proto
