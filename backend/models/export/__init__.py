"""Trained models in the forms that other software reads, and on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from nextlabel.connectors.errors import LearningError, MissingExtra


def push_to_hub(folder: Path, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
    """Upload the exported ``folder`` to the model repository ``repo_id``, made if needed; returns its address.

    Without ``token``, the one of ``HF_TOKEN`` or ``hf auth login`` is used. A repository that is there keeps its
    visibility. Raises LearningError: no token, refused, no network, a name that can't be; MissingExtra.
    """
    if not (folder / "README.md").is_file():
        raise LearningError(f"{folder} is not an exported model: it has no README.md")
    try:
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise MissingExtra("huggingface_hub", "train") from None
    token = token or get_token()
    if not token:
        raise LearningError(
            "there is no token for the hub; set HF_TOKEN (a token with the right to write), or log in: hf auth login"
        )
    api = HfApi(token=token)
    try:
        address = str(api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True))
        api.upload_folder(repo_id=repo_id, repo_type="model", folder_path=folder, commit_message="Model of nextlabel")
    except HFValidationError as error:
        raise LearningError(f"{repo_id!r} can't be a repository; write OWNER/NAME: {error}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        fix = "; check the token's rights and the owner's name" if status in (401, 403, 404) else ""
        raise LearningError(
            f"the hub refused {repo_id} (status {status}){fix}: {str(error).splitlines()[0]}"
        ) from error
    except Exception as error:  # connection errors of several libraries, and the offline mode
        reason = (str(error).splitlines() or [""])[0]
        raise LearningError(
            f"{repo_id} could not be uploaded ({type(error).__name__}: {reason}); it is in {folder}"
        ) from error
    return address
