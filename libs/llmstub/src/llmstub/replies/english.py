"""English sentences that read well about any topic."""

from __future__ import annotations

from llmstub.replies.bank import Bank

ENGLISH = Bank(
    code="en",
    titles=(
        "{topic}: what changes, and for whom",
        "{topic}: a practical guide",
        "A closer look at {topic}",
        "{topic}, from {a} to {b}",
        "{topic}: small steps that last",
        "What {topic} can teach us about {a}",
    ),
    headings=(
        "{topic} today",
        "The place of {a}",
        "From {a} to {b}",
        "What it takes to begin",
        "What can go wrong",
        "The people behind {topic}",
        "Costs, benefits and {a}",
        "Keeping {a} going",
        "How to tell that it works",
        "What comes next for {topic}",
    ),
    points=(
        "the problem with {a} that comes first",
        "who gains from {b}, and who pays for it",
        "an example of {a} that readers can picture",
        "what beginners get wrong about {topic}",
        "how {a} and {b} depend on each other",
        "the first step that costs almost nothing",
        "a figure on {a} that is worth checking",
        "what changes after the first year",
        "the strongest objection, and an answer to it",
        "how to measure progress with {b}",
        "where to look for help with {topic}",
        "what {a} can and cannot do",
        "a short history of {topic}",
        "the habit that keeps {b} alive",
    ),
    openers=(
        "Seen from a distance, {topic} can look like a matter for specialists; up close, it is made"
        " of decisions that anyone can follow.",
        "Most people will meet {topic} through {a}, long before they hear it called by its name.",
        "Every account of {topic} has to begin somewhere, and {a} is a good place.",
        "Ask three people about {topic} and you will hear three stories, with {a} somewhere in"
        " each of them.",
        "There is a quiet way to think about {topic}: begin with {a}, and go on until {b} can be"
        " seen.",
        "Little about {topic} is complicated, but much of it is easy to get in the wrong order.",
    ),
    sentences=(
        "The question is seldom how much {a} may matter, but who will still care once the first"
        " enthusiasm has gone.",
        "Between {a} and {b} lies the practical side of the subject, and that is where most of the"
        " work is done.",
        "It helps to write down what is expected of {a} before anything is bought, built or"
        " promised.",
        "What sounds like a detail, such as {b}, may decide in the end whether people come back.",
        "A modest plan that is kept will beat an ambitious one that is dropped after a season.",
        "Those who have tried it say the same thing: begin small, look closely, and change one"
        " thing at a time.",
        "None of this asks for more than patience and a clear view of {a}.",
        "The costs come early and the benefits late, which is why {b} will need an advocate in"
        " the meantime.",
        "A single good example of {a} can persuade more people than any number of tables.",
        "It would be a mistake to treat {a} and {b} as rivals, because each covers the other's"
        " weak side.",
        "The simplest test is to ask what would be missed if {a} were gone tomorrow.",
        "Where opinions differ on {topic}, a small trial may settle in a month what a debate could"
        " not settle in a year.",
        "Local knowledge of {b} is worth more here than a rule that was made somewhere else.",
        "Not every problem with {a} needs a solution; some need only to be noticed in time.",
        "The first results may disappoint, and that is no reason to stop.",
        "Good records make the difference: without them, the same discussion about {b} returns"
        " every spring.",
        "It is fair to ask what {topic} will cost, and just as fair to ask what doing nothing"
        " costs.",
        "Some of the best ideas about {a} came from people who had never been asked before.",
        "Seen over a longer time, looking after {b} is less a task than a habit.",
        "The order matters: first {a}, then {b}, and only then the finer points.",
        "Nobody has to do all of this at once, and nobody has to do it alone.",
        "Whoever plans for {a} should plan for the day on which something breaks.",
        "A visitor would notice the change at once; those who live with {topic} notice it only"
        " when they look back.",
        "What remains is judgement, and judgement about {a} grows with use.",
        "The hardest part may be to agree on what {b} should look like when it works.",
        "Money helps, but it cannot replace somebody who knows {a} well.",
        "A plan that leaves room for {b} will survive its first surprise.",
        "The mistake that is made most often is to begin with {b} and to think of {a} later.",
        "Much can be learned from places that have lived with {topic} for longer.",
        "It is worth walking through a single day with {a} in mind, from morning to evening.",
        "What works for {a} in one place may need a year of patience in another.",
        "A short list on the wall, with {a} at the top, does more than a thick report.",
        "In the end it is the small repairs that keep {b} in good order.",
        "There will be objections, and the best of them concern {b}.",
        "Children tend to understand {topic} at once, because nobody has told them that it is"
        " difficult.",
        "Success is quiet: people stop talking about {a} and simply count on it.",
    ),
    closings=(
        "That is the whole of it: a beginning with {a}, an eye on {b}, and the patience to let"
        " {topic} do its work.",
        "The rest can wait; what cannot wait is the first step towards {a}.",
        "If one thing should stay in mind, let it be this: {topic} will reward attention more than"
        " effort.",
        "So the answer lies less in {topic} itself than in how steadily one keeps at {b}.",
    ),
    findings=(
        "Reports on {topic} agree that {a} should come before {b}.",
        "Where there is experience with {a}, those involved would do it again.",
        "The costs of {b} are stated in different ways, so figures should be compared with care.",
        "Practitioners name {a} first when they are asked what they would change.",
        "Most failures began with {b}, and could have been seen early.",
        "There is more experience with {a} than with {b}, and it is easier to find.",
        "The clearest examples of {topic} come from places that started small.",
        "Opinions on {b} differ by region, and with them the advice that is given.",
    ),
    questions=(
        "Which figures on {a} are recent enough to be quoted?",
        "Who can confirm what is said about {b}?",
        "How does {topic} look to those who were against it?",
        "What happened to the early examples of {a}?",
        "Is there a case in which {b} made things worse?",
    ),
    sources=(
        "An interview with somebody who works with {a} every day",
        "The yearly report on {b} of a city of similar size",
        "A handbook on {topic}, in its latest edition",
        "Field notes on {a}, kept over two seasons",
        "A study that compares {a} with {b}",
    ),
    praises=(
        "The text stays close to {topic} and does not wander.",
        "The example of {a} is concrete, and easy to picture.",
        "The order of the sections can be followed without effort.",
        "The tone suits the readers that the brief describes.",
    ),
    remarks=(
        "Say earlier what {a} may mean to the reader.",
        "One figure on {b} would make the argument firmer.",
        "Two sentences on {a} say the same; keep the shorter one.",
        "The step from {a} to {b} is sudden; a linking sentence would help.",
        "Name the strongest objection to {topic} and answer it.",
        "The last paragraph could end on what the reader can do tomorrow.",
        "Check the claim about {b} against its source.",
    ),
    verdicts=(
        "Ready after small changes; the structure can stay as it is.",
        "A solid text: with the remarks above it can be published.",
        "Good to go once the points on {a} are settled.",
    ),
    labels={
        "notes": "Notes on {subject}",
        "findings": "What is known",
        "questions": "What to check",
        "sources": "Where to look",
        "review": "Review: {subject}",
        "praises": "What works",
        "remarks": "What to change",
        "verdict": "Verdict",
        "in": "In “{subject}”: ",
    },
    fallback_topic="the subject at hand",
    fallback_words=("preparation", "everyday practice", "the people involved", "time"),
    stop=".",
    gap=" ",
)
