# What transformers says of the texts that `stepfn verify` asks about. Reads JSON on standard input, writes JSON on standard output.
import json
import sys


def answer(asked):
    import torch
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = asked["model"]
    config = AutoConfig.from_pretrained(folder)
    seq2seq = bool(getattr(config, "is_encoder_decoder", False))
    kind = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    model = kind.from_pretrained(folder).float().eval()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # Its ids are then not compared.
        tokenizer, reason = None, str(error).splitlines()[0]
    embedded = []
    size = model.get_input_embeddings().num_embeddings

    def keep(_module, _inputs, output):
        output.retain_grad()
        embedded.append(output)

    # An encoder may embed with a module of its own that only shares its weight.
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings == size and "position" not in name:
            module.register_forward_hook(keep)
    texts = []
    for text in asked["texts"]:
        own = None if tokenizer is None else tokenizer(text["text"])["input_ids"]
        embedded.clear()
        model.zero_grad()
        source = torch.tensor([text["source"]]) if seq2seq else None
        target = torch.tensor([text["target"]])
        # Without `use_cache=False`, some models warn when gradients are asked for.
        if seq2seq:
            logits = model(input_ids=source, decoder_input_ids=target[:, :-1], use_cache=False).logits[0]
        else:
            logits = model(input_ids=target[:, :-1], use_cache=False).logits[0]
        chosen = logits.log_softmax(-1).gather(-1, target[0, 1:, None])[:, 0]
        chosen[-1].backward()
        gradient = embedded[0].grad.reshape(-1, embedded[0].shape[-1]).norm(dim=-1)
        texts.append({"ids": own, "log_probs": chosen.tolist(), "gradient": gradient.tolist()})
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    return {"versions": versions, "tokenizer": None if tokenizer else reason, "texts": texts}


if __name__ == "__main__":
    try:
        said = answer(json.load(sys.stdin))
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    json.dump(said, sys.stdout)
