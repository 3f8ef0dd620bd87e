"""What the page of an exported model says on how to use it."""

from __future__ import annotations

ONNX_USAGE = """\
import json
import numpy, onnxruntime, tokenizers

labels = json.load(open("labels.json"))["labels"]
tokenizer, settings = tokenizers.Tokenizer.from_file("tokenizer.json"), json.load(open("tokenizer_config.json"))
tokenizer.enable_truncation(settings["model_max_length"], direction=settings["truncation_side"])
ids = numpy.array([tokenizer.encode("a text").ids])
session = onnxruntime.InferenceSession("model.onnx")
[probabilities] = session.run(None, {"input_ids": ids, "attention_mask": numpy.ones_like(ids)})
print(dict(zip(labels, probabilities[0])))"""
NOTE = (
    "This classifier was trained together with the encoder. In nextlabel a layer that learns from every new answer has "
    "its place; the figures were measured with that one."
)
USAGE = """from transformers import pipeline

tag = pipeline("token-classification", model=".", aggregation_strategy="simple")
print(tag("a text of the kind that the model was trained for"))"""


def pipeline_usage(trust: bool) -> str:
    """Python that loads the exported folder into a pipeline."""
    code = ", trust_remote_code=True" if trust else ""
    return (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("text-classification", model="THIS_FOLDER", truncation=True, top_k=None{code})\n'
        'classify("a text")  # every label with its probability; keep the weights in float32'
    )
