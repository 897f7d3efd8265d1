{{- define "lastgood.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "lastgood.fullname" -}}
{{- $name := include "lastgood.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Selectors are immutable: nothing that changes with a version may stand here. */ -}}
{{- define "lastgood.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lastgood.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lastgood.labels" -}}
{{ include "lastgood.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: daemon
app.kubernetes.io/part-of: lastgood
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "lastgood.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lastgood.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "lastgood.secret" -}}
{{- default (include "lastgood.fullname" .) .Values.secret.name -}}
{{- end -}}

{{- define "lastgood.claim" -}}
{{- default (include "lastgood.fullname" .) .Values.persistence.existingClaim -}}
{{- end -}}

{{- define "lastgood.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lastgood.stateDir" -}}/var/lib/lastgood{{- end -}}
{{- define "lastgood.configDir" -}}/etc/lastgood{{- end -}}
{{- define "lastgood.secretsDir" -}}/etc/lastgood-secrets{{- end -}}
{{- define "lastgood.journalDir" -}}/etc/lastgood-journal{{- end -}}

{{- /* "yes" where the policy lets anything be changed. */ -}}
{{- define "lastgood.armed" -}}
{{- $policy := default dict .Values.config.policy -}}
{{- $armed := has (default "observe" $policy.default_mode) (list "approve" "auto") -}}
{{- range (default list $policy.modes) -}}
{{- if has .mode (list "approve" "auto") -}}{{- $armed = true -}}{{- end -}}
{{- end -}}
{{- if $armed -}}yes{{- end -}}
{{- end -}}

{{- /* "yes" where there is more than one pod. */ -}}
{{- define "lastgood.several" -}}
{{- if gt (int .Values.replicas) 1 -}}yes{{- end -}}
{{- end -}}

{{- /* The settings file: the user's, with what the chart knows laid over it. */ -}}
{{- define "lastgood.settings" -}}
{{- $_ := required "config.cluster: is not set; it names this cluster in pages, like --set config.cluster=production" .Values.config.cluster -}}
{{- $_ := required "config.prometheus.url: is not set; like --set config.prometheus.url=http://prometheus.monitoring:9090" (dig "prometheus" "url" "" .Values.config) -}}
{{- if and (include "lastgood.armed" .) .Values.rbac.create (ne .Values.rbac.mode "act") -}}
{{- fail "config.policy: arms workloads, but rbac.mode is observe, whose role may change nothing; set rbac.mode=act" -}}
{{- end -}}
{{- if and .Values.rbac.deletePods .Values.rbac.create (ne .Values.rbac.mode "act") -}}
{{- fail "rbac.deletePods: is set, but rbac.mode is observe, which may change nothing; set rbac.mode=act or take it back" -}}
{{- end -}}
{{- if and .Values.rbac.switchServices .Values.rbac.create (ne .Values.rbac.mode "act") -}}
{{- fail "rbac.switchServices: is set, but rbac.mode is observe, which may change nothing; set rbac.mode=act or take it back" -}}
{{- end -}}
{{- if and (include "lastgood.armed" .) .Values.rbac.create (dig "policy" "delete_stuck_pods" false .Values.config) (not .Values.rbac.deletePods) -}}
{{- fail "config.policy.delete_stuck_pods: is true, but no role may delete pods; set rbac.deletePods=true" -}}
{{- end -}}
{{- if and .Values.rbac.gitops .Values.rbac.create (ne .Values.rbac.mode "act") -}}
{{- fail "rbac.gitops: is set, but rbac.mode is observe, which may change nothing; set rbac.mode=act or take it back" -}}
{{- end -}}
{{- if and (include "lastgood.armed" .) .Values.rbac.create (not .Values.rbac.gitops) -}}
{{- range (default list (dig "policy" "gitops" list .Values.config)) -}}
{{- if has .do (list "argocd-rollback" "flux-suspend") -}}
{{- fail (printf "config.policy.gitops: says %s, but no role may suspend anything; set rbac.gitops=true" .do) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if include "lastgood.several" . -}}
{{- if ne (toString (dig "lease" "enabled" false .Values.config)) "true" -}}
{{- fail (printf "replicas: is %d, but config.lease.enabled is not true, so nothing says which of them acts; set config.lease.enabled=true" (int .Values.replicas)) -}}
{{- end -}}
{{- if not .Values.journal.postgres.secretName -}}
{{- fail (printf "replicas: is %d, but each would have a journal of its own and know nothing of the others; set journal.postgres.secretName to the Secret with a database's URL" (int .Values.replicas)) -}}
{{- end -}}
{{- end -}}
{{- $fixed := dict "state_dir" (include "lastgood.stateDir" .) "secrets_dir" (include "lastgood.secretsDir" .) -}}
{{- $_ := set $fixed "server" (dict "listen" ":9095") -}}
{{- if .Values.journal.postgres.secretName -}}
{{- $url := dict "file" (printf "%s/url" (include "lastgood.journalDir" .)) -}}
{{- $_ := set $fixed "journal" (dict "url" $url) -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $fixed) -}}
{{- end -}}
