"""The SavedModel: everything from raw bytes to labels, as three endpoints.

preprocess       decoded input -> one example, no batch axis
predict          examples -> logits, scores: the numeric core, that executors compile
classify         file bytes or text -> classes, scores, decoded in the graph; it is
                 serving_default too, so that TensorFlow Serving can serve the folder
embed            if asked for: examples -> what the last layer sees (embed.py)
dense            if asked for: larger pictures, longer sounds -> each window's scores (dense.py)
explain          if asked for: examples, classes -> what their logits hang on (explain_endpoint.py);
                 with it for texts, tokens: text -> string [T], what each position of it is
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from pipelines.dense import dense_endpoint
from pipelines.embed import embed_endpoint
from pipelines.explain_endpoint import explain_endpoint
from pipelines.preprocessing import Preprocessing, TextPreprocessing


class Artefact(tf.Module):
    """A trained network with its preprocessing and labels.

    Args:    model: [B, ...] examples -> [B, K] logits; labels: K of them;
             dense, embed, explain: also make the endpoints of these names.
    Raises:  ValueError if there can be no such endpoint, with the reason.
    """

    def __init__(
        self,
        model: keras.Model,
        preprocessing: Preprocessing,
        labels: Sequence[str],
        dense: bool = False,
        embed: bool = False,
        explain: bool = False,
    ):
        super().__init__()
        # In a function, where tf.Module looks for nothing to save: what only training needs
        # (auxiliary heads, the optimizer) stays behind, and `served` holds what is read.
        self.logits = lambda examples: model(examples, training=False)
        self.preprocessing = preprocessing
        self.labels = tf.constant(list(labels), tf.string)

        example = preprocessing.example_spec
        batch = tf.TensorSpec([None, *example.shape], example.dtype, name="examples")
        encoded = tf.TensorSpec([None], tf.string, name="inputs")
        self.endpoints = {
            "preprocess": tf.function(self.preprocess, [preprocessing.decoded_spec]),
            "predict": tf.function(self.predict, [batch]),
            "classify": tf.function(self.classify, [encoded]),
        }
        if dense:
            self.endpoints["dense"] = dense_endpoint(model, preprocessing)
        if embed:
            self.endpoints["embed"] = embed_endpoint(model, preprocessing)
        if explain:
            self.endpoints["explain"] = explain_endpoint(model, preprocessing)
            if isinstance(preprocessing, TextPreprocessing):
                self.endpoints["tokens"] = tf.function(self.tokens, [preprocessing.decoded_spec])

    def preprocess(self, decoded: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"example": self.preprocessing.preprocess(decoded)}

    def predict(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        # Running statistics, never the batch's: an example's scores are its own.
        logits = tf.cast(self.logits(examples), tf.float32)
        return {"logits": logits, "scores": tf.nn.softmax(logits)}

    def tokens(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"tokens": self.preprocessing.kept(text)}

    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """string [B] -> classes string [B, K], scores float32 [B, K], in the order of class_id."""

        def scores(encoded: tf.Tensor) -> tf.Tensor:
            example = self.preprocessing.preprocess(self.preprocessing.decode(encoded))
            return self.predict(example[tf.newaxis])["scores"][0]

        # One by one, as examples differ in length, and no one's scores may hang on a neighbour.
        each = tf.map_fn(scores, inputs, fn_output_signature=tf.TensorSpec(self.labels.shape))
        classes = tf.broadcast_to(self.labels, tf.shape(each))
        return {"classes": classes, "scores": each}

    def save(self, folder: Path) -> None:
        """Write the SavedModel, and nothing beside it."""
        signatures = {
            name: function.get_concrete_function() for name, function in self.endpoints.items()
        }
        signatures["serving_default"] = signatures["classify"]
        graphs = [function.graph for function in signatures.values()]
        self.served = list({v.ref(): v for graph in graphs for v in graph.variables}.values())
        tf.saved_model.save(self, str(folder), signatures=signatures)
