"""The tokenizer of the bundled model, and captions as people type them.

    python3 tools/train/text.py --run RUN

trains the SentencePiece model on captions of random scenes. Words it has never seen fall apart into
letters, characters into bytes.
"""
import argparse
import pathlib
import tempfile

import numpy as np
import sentencepiece
import torch

import world

PAD, EOS = 0, 1

# Words around the ones that mean something: they must not disturb.
BEFORE = ("a picture of", "a video of", "please show me", "a beautiful scene:", "i want to see",
          "a postcard with", "cartoon of", "imagine", "here is", "look,", "flat vector art of",
          "now", "and then", "suddenly", "this is", "we see", "show")
AFTER = ("in the background", "very nice", "beautiful", "in flat colours", "cinematic", "4k",
         "like a postcard", "peaceful mood", "vector art", "please", "highly detailed", "with love")
WITHIN = ("nice", "beautiful", "big", "small", "lovely", "old", "bright", "shiny", "lonely", "happy",
          "little", "pretty", "wonderful", "magic", "great")


def disturbed(text, rng):
    """A caption with words that tell nothing, or with a word misspelt."""
    words = text.split()
    kind = rng.random()
    if kind < 0.3:
        return f"{BEFORE[rng.integers(len(BEFORE))]} {text}"
    if kind < 0.5:
        return f"{text.rstrip('.')}, {AFTER[rng.integers(len(AFTER))]}"
    if kind < 0.7:
        words.insert(int(rng.integers(0, 2)), WITHIN[rng.integers(len(WITHIN))])
    elif kind < 0.85:
        length = int(rng.integers(3, 9))
        words.insert(int(rng.integers(len(words) + 1)),
                     "".join(chr(97 + int(c)) for c in rng.integers(0, 26, length)))
    else:
        i = int(rng.integers(len(words)))
        if len(words[i]) > 4:
            j = int(rng.integers(1, len(words[i]) - 1))
            words[i] = words[i][:j] + words[i][j + 1:]
    return " ".join(words)


def train(path, count=60000, vocab=800, seed=5):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        corpus = pathlib.Path(folder, "captions.txt")
        with corpus.open("w") as f:
            for i in range(count):
                s = world.scene(int(rng.integers(1 << 62)))
                text = world.caption(s.first, int(rng.integers(1 << 62)))
                f.write((disturbed(text, rng) if i % 4 == 0 else text) + "\n")
            for w in (*BEFORE, *AFTER, *WITHIN, "0 1 2 3 4 5 6 7 8 9 ! ? : ; ' \" ( ) - & % / + = _"):
                f.write((w + "\n") * 20)
        sentencepiece.SentencePieceTrainer.Train(
            input=str(corpus), model_prefix=str(pathlib.Path(folder, "spiece")), vocab_size=vocab,
            model_type="unigram", character_coverage=1.0, byte_fallback=True, pad_id=PAD, eos_id=EOS,
            unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc_cf", num_threads=1,
            minloglevel=1, max_sentencepiece_length=12, seed_sentencepiece_size=20000)
        pathlib.Path(path).write_bytes(pathlib.Path(folder, "spiece.model").read_bytes())


class Tokenizer:
    def __init__(self, path, text_len):
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.text_len = text_len
        self.vocab = self.model.vocab_size()

    def __call__(self, texts):
        ids = torch.zeros(len(texts), self.text_len, dtype=torch.long)
        for i, text in enumerate(texts):
            row = (self.model.encode(text.strip()) + [EOS])[:self.text_len]
            row[-1] = EOS
            ids[i, :len(row)] = torch.tensor(row)
        return ids


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--run", required=True)
    p.add_argument("--vocab", type=int, default=800)
    a = p.parse_args()
    path = pathlib.Path(a.run, "spiece.model")
    path.parent.mkdir(parents=True, exist_ok=True)
    train(path, vocab=a.vocab)
    t = Tokenizer(path, 64)
    rng = np.random.default_rng(1)
    lengths = [int((t([world.caption(world.scene(i).first, i)]) != 0).sum()) for i in range(2000)]
    print(f"{path}: {t.vocab} pieces, {path.stat().st_size} bytes; captions take up to "
          f"{max(lengths)} tokens, {np.mean(lengths):.1f} on average")
    for text in ("a red sailboat drifts left on a calm sea at sunset", "xylophone Zürich 7"):
        print(t.model.encode(text, out_type=str), disturbed(text, rng))


if __name__ == "__main__":
    main()
