"""Token ids as text, for libraries that only accept text."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def word_tokenizer(config):
    """Token 17 is the word `<17>`, so that any ids can be written as text."""
    vocabulary = {f"<{i}>": i for i in range(config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<3>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end = f"<{config.eos_token_id}>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<3>", eos_token=end, pad_token=end)


def words(ids):
    return " ".join(f"<{i}>" for i in ids)
