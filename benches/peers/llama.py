"""All logits of a text with llama.cpp, for benchmarks that alternate with stepfn.

Uses the protocol of serve.py. A setup: {"file": "/….gguf", "ids": [ids]}. The work, "score", evaluates the text in one batch and makes the logits of all its tokens; its
result are the log-probabilities of the tokens but the first, whose sums are not timed on this side. Needs the package `llama-cpp-python`
besides those of the other peers.
"""

import ctypes
import os

import llama_cpp
import numpy as np
import torch

from serve import serve


@llama_cpp.llama_log_callback
def quiet(level, text, data):
    """It says much about what it loads."""


class Scores:
    def __init__(self, file, ids):
        self.ids = ids
        threads = int(os.environ.get("STEPFN_THREADS", "2"))
        # Loaded once: a file of some gigabytes takes a while.
        self.model = models.get(file)
        if self.model is None:
            options = llama_cpp.llama_model_default_params()
            self.model = models[file] = llama_cpp.llama_model_load_from_file(file.encode(), options)
            if not self.model:
                raise ValueError(f"llama.cpp does not read {file}")
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = max(len(ids), 32)
        options.n_threads = options.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, options)
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        self.batch.n_tokens = len(ids)
        for at, token in enumerate(ids):
            self.batch.token[at], self.batch.pos[at], self.batch.logits[at] = token, at, 1
            self.batch.n_seq_id[at], self.batch.seq_id[at][0] = 1, 0

    def run(self, _):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        if llama_cpp.llama_decode(self.context, self.batch) != 0:
            raise ValueError("llama.cpp does not evaluate the text")
        logits = llama_cpp.llama_get_logits(self.context)
        return Logits(logits, self.ids, self.vocab)


class Logits:
    """Logits in memory of llama.cpp, and what they say about the text."""

    def __init__(self, logits, ids, vocab):
        self.logits, self.ids, self.vocab = logits, ids, vocab

    def log_probs(self):
        size = (len(self.ids), self.vocab)
        logits = np.ctypeslib.as_array(ctypes.cast(self.logits, ctypes.POINTER(ctypes.c_float)), size)
        logits = torch.from_numpy(logits[:-1].copy()).log_softmax(-1)
        return logits[torch.arange(len(self.ids) - 1), torch.tensor(self.ids[1:])].tolist()


models = {}


if __name__ == "__main__":
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    serve(Scores, ("score",), "llama-cpp-python", shown=Logits.log_probs)
