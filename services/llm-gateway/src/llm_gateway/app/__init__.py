"""What the llm-gateway service decides. One module per stage of a call:

    request ──▶ in_flight ──▶ execute ──▶ prepare ──▶ (reserve) ──▶ attempt ──▶ settle
                                 └──▶ recover, where an earlier process left something

`request` joins or starts a call, `in_flight` holds it, `execute` takes it through the other stages.
The states of a call in the ledger, and what leads from one to another:

    no row ──reserve──▶ dispatched ──with its reply──▶ settled
                         │      ▲
           attempt ended │      │ reserve
                         ▼      │
             another follows: reserved (held during the backoff)
             none follows:    failed, or unknown if an attempt may have been paid

A call in `failed` or `unknown` is reserved again when somebody asks for its key and its last
refusal and the request's policy allow it. An attempt has the same states, without `reserved`.
"""
