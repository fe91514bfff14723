"""Words of the two languages that tell frame from content."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmstub.replies.bank import Bank

_ENGLISH_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*|[^A-Za-z\s]+|\n")
_JAPANESE_PHRASE = re.compile(
    r"[\u4e00-\u9fff々ァ-ヴー]{2,10}(?:の[\u4e00-\u9fff々ァ-ヴー]{2,8})?"
    r"(?![\u4e00-\u9fff々ァ-ヴー])(?=[をがはにのとでもやへか]|[^ぁ-ん]|$)"
)
_JAPANESE_WORD = re.compile(r"[\u4e00-\u9fff々]+|[ァ-ヴー]+")
_MOST_WORDS_OF_A_PHRASE = 3
_SHORTEST_WORD = 4  # letters of a phrase that is a single English word

ABOUT = (
    re.compile(
        r"\b(?:about|on the topic of|(?:article|essay|text|story|post|piece) on)"
        r"\s+([^.\n:;?!]{3,160}?)(?: for [^.\n:;?!]{3,120})?(?=[.\n:;?!]|\Z)",
        re.IGNORECASE,
    ),
    re.compile(r"「([^」\n]{2,60})」|([^\s。、:：「」]{2,40}?)(?:について|に関する|をテーマ)"),
)
QUOTED = re.compile(r"[“\"]([^”\"\n{}]{3,80})[”\"](?!\s*:)")
LANGUAGE = re.compile(
    r"\"?\b(?:language|lang|locale)\"?\s*[:=]\s*\"?(?:ja|japanese|en|english)\b\"?"
    r"|\bin (?:japanese\b|english\b|日本語|英語)|(?:日本語|英語)で",
    re.IGNORECASE,
)
OPENING_WORDS = frozenset({"A", "An", "How", "The", "What", "When", "Where", "Which", "Who", "Why"})

_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "ten": 10}
_COUNTED_IN_JAPANESE = {
    "sections": r"(?:の?(?:節|章|セクション|見出し))",
    "points": r"(?:の?(?:要点|論点|ポイント))",
}


def number_of(noun: str, text: str) -> int | None:
    """Return the number that a text puts before a noun, if it does."""
    names = rf"(?:{re.escape(noun)}|{re.escape(noun.rstrip('s'))}s)"
    found = re.search(rf"\b(\d{{1,2}}|{'|'.join(_NUMBERS)})\s+(?:\w+\s+)?{names}\b", text, re.I)
    if not found and noun in _COUNTED_IN_JAPANESE:
        found = re.search(rf"(\d{{1,2}})[つ個]?{_COUNTED_IN_JAPANESE[noun]}", text)
    if not found:
        return None
    return _NUMBERS.get(found[1].lower()) or int(found[1])


_ENGLISH_FRAME = """
a able about above according accurate act active after again all also always an and answer any
apply are argument array article articles as asked assistant at audience author avoid bad based
because been before begin being below best better between big blog both brief brings build
bullet bullets but by called can cannot careful check clear close collect company complete
concrete content could craft day days deliver describe detail did do document does down draft
drafted drafts each edit editor editor's editors eight else ends english ensure even ever every
everyone everything exactly example experienced expert explain eyes fact facts field fields
figure figures final find finding findings first five focus following for format four from full
get gets give given go gone good gravest had happens has have he heading headings heard help her
here his human if in include input instructions into is it item items its japanese journalist
json judge just keep keywords know known knows language last learn least leave length less let
level levels like line lines list long look lot made magazine main make manage managing many
mark markdown material may me mend mention mentions might model month months more most much must
my name near need needs never new newspaper next nine no nobody nor not notes nothing null
number object objection of off often old on once one one-page ones only onto or order other our
out outline output over own pair paragraph paragraphs part parts per phrase phrases piece plain
plan planned planning plans please point points polish polished practical practice print printed
produce professional promises prompt properties prose provide publication publish published
quality question raise read reader readers readers' reading reason reasons remark remarks reply
required research researcher researchers respond response result return review reviewer same
sceptical schema score second section sections see seen senior sentence sentences seven she
short should show shows since six so some something sources stand stands step steps still string
structure style subject such suggest suggestions suits summary sure system take task tell ten
text than that the their them then there these they thing third this those three through title
to today told tomorrow tone too topic topics trade transitions true two type under until up upon
us used user uses using valid value verb verbs very via want was we website well were what when
where which while who whole whom whose why will with without word words work worked would write
writer writers writes writing written year years yesterday yet you young your yourself
"""
_JAPANESE_FRAME = """
以下 出力 記事 見出 構成 構成案 作成 執筆 文章 読者 日本語 英語 形式 必要 内容 編集者 編集
調査 下書 草稿 本文 要約 推敲 校閲 査読 清書 題名 主題 題材 論点 要点 箇条書 指示 回答
文字 文体 対象 指定 記載 提示 使用 利用 以上 以内 程度 各節 全体 一般 担当 最初 最後 場合
情報 資料 具体的 次 アウトライン セクション レビュー リサーチ タイトル テーマ トピック
キーワード ポイント マークダウン プロンプト スキーマ
"""
_FRAME = frozenset(_ENGLISH_FRAME.split()) | frozenset(_JAPANESE_FRAME.split())


@cache
def common_words(bank: Bank) -> frozenset[str]:
    """Return the words that say nothing about a topic: those of instructions, and our own.

    Our own come back in the prompts of later steps, which carry the replies of earlier ones.
    """
    own = " ".join(
        sentence for sentences in bank.sentences_of_all_kinds() for sentence in sentences
    )
    ours = re.sub(r"\{\w+\}", " ", own).lower()
    return _FRAME | frozenset(_ENGLISH_WORD.findall(ours)) | frozenset(_JAPANESE_WORD.findall(ours))


def phrases(text: str, bank: Bank, common: frozenset[str]) -> list[str]:
    """Return the runs of words, one to three, that stand between common words and signs."""
    if bank.code == "ja":
        found = (match.group() for match in _JAPANESE_PHRASE.finditer(text))
        return [phrase for phrase in found if set(_JAPANESE_WORD.findall(phrase)) - common]
    runs: list[list[str]] = [[]]
    for word in _ENGLISH_WORD.findall(text):
        if word[0].isalpha() and word.lower() not in common:
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    fitting = [" ".join(run) for run in runs if 0 < len(run) <= _MOST_WORDS_OF_A_PHRASE]
    return [_small(phrase) for phrase in fitting if _is_noun(phrase)]


def _is_noun(phrase: str) -> bool:
    """Whether a phrase may name a thing: a single word is neither short nor a verb's form."""
    is_verb = " " not in phrase and phrase.endswith(("ed", "ing", "'s"))
    return len(phrase) >= _SHORTEST_WORD and not is_verb


def _small(phrase: str) -> str:
    """Begin a phrase small, unless all of its words begin large: then it is a name."""
    words = phrase.split()
    is_name = len(words) > 1 and all(word[0].isupper() for word in words)
    return phrase if is_name or phrase[:2].isupper() else phrase[0].lower() + phrase[1:]
