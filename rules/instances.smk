rule propose_masks:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
    output:
        f"{BASE}/proposals/{{kind}}/{{shard}}.json",
    log:
        log_of("propose_masks", "{kind}-{shard}"),
    benchmark:
        bench_of("propose_masks", "{kind}-{shard}")
    wildcard_constraints:
        kind="[a-z_]+",
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=growing(240),
    params:
        settings=lambda w: INSTANCES.stage("propose_masks", kind=w.kind).model_dump_json(),
        code=lambda w: code("instances.propose_masks", relevant(INSTANCES.stage("propose_masks", kind=w.kind))),
        listing=lambda w: given_listing(INSTANCES.stage("propose_masks", kind=w.kind)),
    message:
        "mask proposals ({wildcards.kind}) of shard {wildcards.shard}"
    shell:
        "wsss propose_masks --index {input.index:q} --shard {input.shard:q} --settings {params.settings:q} --output {output:q} --log {log:q}"


rule respond_peaks:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
        classifier=lambda w: INSTANCES.classifier(w.method),
    output:
        f"{BASE}/{{method}}/instances/responses/{{shard}}.h5",
    log:
        log_of("respond_peaks", "{method}-{shard}"),
    benchmark:
        bench_of("respond_peaks", "{method}-{shard}")
    conda:
        "../envs/wsss.yaml"
    threads: COMPUTE.threads
    resources:
        gpu=1,
        mem_mb=growing(2000 + 2000 * COMPUTE.threads),
        runtime=growing(480),
        device=COMPUTE.device,
    params:
        settings=instance_settings("respond_peaks"),
        compute=compute_params(),
        code=lambda w: code_digest("wsss.stages.instances.respond_peaks", GRAPH.facts(w.method).module),
    message:
        "peaks of {wildcards.method} and what they respond to, shard {wildcards.shard}"
    shell:
        "wsss respond_peaks --index {input.index:q} --shard {input.shard:q} --classifier {input.classifier:q} --settings {params.settings:q}"
        " --compute {params.compute:q} --device {resources.device} --workers {threads} --output {output:q} --log {log:q}"


rule retrieve_instances:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        shard=GRAPH.dataset("shards/{shard}.csv"),
        responses=instance_shard("responses"),
        proposals=instance_shard("proposals"),
        masks=instance_shard("masks"),
        fused=instance_shard("fused"),
        saliency=instance_shard("saliency"),
    output:
        f"{BASE}/{{method}}/instances/{{shard}}.json",
    log:
        log_of("retrieve_instances", "{method}-{shard}"),
    benchmark:
        bench_of("retrieve_instances", "{method}-{shard}")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        settings=instance_settings("retrieve_instances"),
        code=code("instances.retrieve_instances"),
    message:
        "instances of {wildcards.method}, shard {wildcards.shard}"
    shell:
        "wsss retrieve_instances --index {input.index:q} --shard {input.shard:q} --responses {input.responses:q} --proposals {input.proposals:q}"
        " --masks {input.masks:q} --fused {input.fused:q} --saliency {input.saliency:q} --settings {params.settings:q} --output {output:q} --log {log:q}"


rule export_instances:
    input:
        index=GRAPH.dataset("index.csv"),
        classes=GRAPH.dataset("classes.csv"),
        instances=lambda w: INSTANCES.results(w.method),
    output:
        f"{BASE}/{{method}}/instances/instances.json",
    log:
        log_of("export_instances", "{method}"),
    benchmark:
        bench_of("export_instances", "{method}")
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        code=code("instances.export_instances"),
    message:
        "COCO JSON and images of the instances of {wildcards.method}"
    shell:
        "wsss export_instances --index {input.index:q} --instances {input.instances:q} --output {output:q} --log {log:q}"
