"""The one tree of errors; adapters translate at their edge, and whether to try again is a property of the class.

PenstockError                     everything below; carries a reason (CamelCase) and a message with a cure
|-- Retryable                     may succeed later without anybody's doing
|   |-- RegistryUnavailable       the registry cannot be reached, timed out or answered 5xx
|   |-- MetricsUnavailable        the metric store cannot be reached, timed out or answered 5xx
|   |-- ClusterUnavailable        the Kubernetes API answered 401, 429, 5xx or not at all
|   |-- Conflict                  somebody wrote first: look again
|   `-- NotLeading                another process acts, or none does until the next one has been elected
`-- Final                         needs a person
    |-- ModelNotFound             no such registered model
    |-- VersionNotFound           no such version of the model
    |-- AliasNotFound             no such alias of the model
    |-- RegistryDenied            the registry refuses the credentials
    |-- CredentialsMissing        the Secret or a key in it does not exist
    |-- QueryInvalid              the metric store refuses the query
    |-- Invalid                   the Kubernetes API finds the object invalid (400, 422)
    |-- Denied                    the Kubernetes API refuses: permission, quota or policy (403)
    |-- Missing                   the Kubernetes API does not know the object (404)
    `-- Misconfigured             a setting that cannot work
"""

from typing import ClassVar


class PenstockError(Exception):
    """An error with a reason for machines and a message, with a cure, for people."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def reason(self) -> str:
        return type(self).__name__


class Retryable(PenstockError):
    """May succeed later without anybody's doing."""

    retryable = True


class RegistryUnavailable(Retryable):
    """The registry cannot be reached, timed out or answered 5xx."""


class MetricsUnavailable(Retryable):
    """The metric store cannot be reached, timed out or answered 5xx."""


class ClusterUnavailable(Retryable):
    """The Kubernetes API answered 401 (tokens are renewed), 429, 5xx or not at all."""


class Conflict(Retryable):
    """Somebody wrote first: look again."""


class NotLeading(Retryable):
    """Another process acts, or none does until the next one has been elected."""


class Final(PenstockError):
    """Needs a person."""


class ModelNotFound(Final):
    """No such registered model."""


class VersionNotFound(Final):
    """No such version of the model."""


class AliasNotFound(Final):
    """No such alias of the model."""


class RegistryDenied(Final):
    """The registry refuses the credentials."""


class CredentialsMissing(Final):
    """The Secret with the credentials, or a key in it, does not exist."""


class QueryInvalid(Final):
    """The metric store refuses the query."""


class Invalid(Final):
    """The Kubernetes API finds the object invalid (400, 422)."""


class Denied(Final):
    """The Kubernetes API refuses: permission, quota or policy (403)."""


class Missing(Final):
    """The Kubernetes API does not know the object (404)."""


class Misconfigured(Final):
    """A setting that cannot work."""
