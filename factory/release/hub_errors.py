"""What the hub's client raises when a snapshot is pulled, in our words, with what to do next."""

from collections.abc import Sequence


def explained(error: Exception, repo: str, revision: str | None, have: Sequence[str]) -> str:
    """The message for an error of `huggingface_hub`.

    Args:
        error: As it was raised.
        repo: `org/name`.
        revision: As asked for.
        have: Commits of it that were pulled before.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"hf://{repo}" + (f"@{revision}" if revision else "")
    said = " ".join(str(error).split())[:300] or type(error).__name__
    match error:
        case GatedRepoError():
            told = f"the hub wants a login for it ({said})", "accept its terms on the hub, then `hf auth login`"
        case RevisionNotFoundError():
            told = f"the hub has no such revision of it ({said})", "look at its branches, tags and commits on the hub"
        case RemoteEntryNotFoundError():
            told = (
                "it holds no manifest.json, or not all of its files, so it is no snapshot of a factory",
                f'load it as problems instead: [problems] sources = [{{ kind = "hub", path = "{repo}" }}]',
            )
        case RepositoryNotFoundError():
            told = f"the hub has no such dataset, or hides it from you ({said})", "check the name; `hf auth login`"
        case HFValidationError():
            told = f"this is no name of a dataset ({said})", "write hf://org/name@revision"
        case HfHubHTTPError():
            told = f"the hub answered with an error ({said})", "the same command again, later"
        case _:
            told = f"the hub cannot be reached ({type(error).__name__}: {said})", _offline(repo, have)
    what, following = told
    return f"{name}: {what}\n  next:   {following}\n  state:  nothing was kept."


def _offline(repo: str, have: Sequence[str]) -> str:
    if not have:
        return "check the network (and HF_HUB_OFFLINE)"
    return f"check the network, or name a commit that is here already: hf://{repo}@{have[-1]}"
