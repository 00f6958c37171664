{{/* Prefix of every object's name: the release's name, unless a value says otherwise. */}}
{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "penstock.operator.fullname" -}}{{ include "penstock.fullname" . }}-operator{{- end -}}
{{- define "penstock.envoy.fullname" -}}{{ include "penstock.fullname" . }}-envoy{{- end -}}
{{- define "penstock.mlflow.fullname" -}}{{ include "penstock.fullname" . }}-mlflow{{- end -}}
{{- define "penstock.prometheus.fullname" -}}{{ include "penstock.fullname" . }}-prometheus{{- end -}}

{{/* Name in the cluster's DNS of the service `name`: (dict "root" $ "name" "...") */}}
{{- define "penstock.host" -}}
{{- printf "%s.%s.svc.%s" .name .root.Release.Namespace .root.Values.clusterDomain -}}
{{- end -}}

{{/* Labels by which a component's pods are selected: (dict "root" $ "component" "operator") */}}
{{- define "penstock.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object of a component: (dict "root" $ "component" "operator") */}}
{{- define "penstock.labels" -}}
{{ include "penstock.selectorLabels" . }}
app.kubernetes.io/part-of: penstock
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image's full reference: (dict "root" $ "image" .Values.operator.image) */}}
{{- define "penstock.image" -}}
{{- $registry := default .image.registry .root.Values.imageRegistry -}}
{{- $name := ternary (printf "%s/%s" $registry .image.repository) .image.repository (ne $registry "") -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the restricted Pod Security Standard asks of a pod. */}}
{{- define "penstock.podSecurityContext" -}}
runAsNonRoot: true
{{- if not (kindIs "invalid" .Values.runAsUser) }}
runAsUser: {{ .Values.runAsUser }}
runAsGroup: {{ .Values.runAsUser }}
fsGroup: {{ .Values.runAsUser }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What the restricted Pod Security Standard asks of a container, and a read-only root besides. */}}
{{- define "penstock.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where a component's pods may run: (dict "root" $ "of" .Values.operator) */}}
{{- define "penstock.scheduling" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "penstock.operator.serviceAccountName" -}}
{{- if .Values.operator.serviceAccount.create -}}
{{- default (include "penstock.operator.fullname" .) .Values.operator.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.operator.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Address of the default registry, empty when there is none. */}}
{{- define "penstock.trackingURI" -}}
{{- if .Values.mlflow.embedded.enabled -}}
{{- if .Values.mlflow.url -}}
{{- fail "mlflow.url is set and the embedded MLflow is on: set mlflow.embedded.enabled=false to use your own, or clear mlflow.url" -}}
{{- end -}}
http://{{ include "penstock.host" (dict "root" . "name" (include "penstock.mlflow.fullname" .)) }}:5000
{{- else -}}
{{- .Values.mlflow.url -}}
{{- end -}}
{{- end -}}

{{/* Address of Prometheus. */}}
{{- define "penstock.prometheusURL" -}}
{{- if .Values.prometheus.embedded.enabled -}}
{{- if .Values.prometheus.url -}}
{{- fail "prometheus.url is set and the embedded Prometheus is on: set prometheus.embedded.enabled=false to use your own, or clear prometheus.url" -}}
{{- end -}}
http://{{ include "penstock.host" (dict "root" . "name" (include "penstock.prometheus.fullname" .)) }}:9090
{{- else -}}
{{- required "there is no Prometheus to measure with: set prometheus.url to the address of yours, or prometheus.embedded.enabled=true" .Values.prometheus.url -}}
{{- end -}}
{{- end -}}
