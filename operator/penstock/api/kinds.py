"""The kinds that Penstock serves: what their models cannot say of themselves."""

from penstock.api import crd
from penstock.api.v1alpha1 import modeldeployment, modeldeployment_status

MODEL_DEPLOYMENT = crd.Kind(
    name=modeldeployment.KIND,
    plural=modeldeployment.PLURAL,
    singular=modeldeployment.SINGULAR,
    short_names=modeldeployment.SHORT_NAMES,
    description=(
        "ModelDeployment serves a version of a registered MLflow model, and rolls every new version out step by step: "
        "asked first, fed with copies of live requests, then given a growing share of them, judged by "
        "metrics all the way."
    ),
    spec=modeldeployment.ModelDeploymentSpec,
    status=modeldeployment_status.ModelDeploymentStatus,
    columns=(
        crd.Column("Phase", ".status.phase"),
        crd.Column("Stable", ".status.stable.modelVersion", "integer", "Model version that answers users."),
        crd.Column("Candidate", ".status.candidate.modelVersion", "integer", "Model version being rolled out."),
        crd.Column("Step", ".status.step.kind"),
        crd.Column("Weight", ".status.split.weight", "integer", "Percent of requests the candidate answers."),
        crd.Column("Message", ".status.message", priority=1),
        crd.Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    scale=crd.Scale(spec_path=".spec.server.replicas", status_path=".status.stable.replicas"),
    rules=(
        (
            "self.metadata.name.size() <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name becomes part of Service names: use at most 52 of a-z, 0-9 and '-', and begin with a letter",
        ),
    ),
)

ALL = (MODEL_DEPLOYMENT,)
