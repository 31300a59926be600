rule index_images:
    output:
        index=product("index_images"),
        classes=GRAPH.dataset("classes.csv"),
        statistics=GRAPH.dataset("statistics.json"),
        shards=[GRAPH.dataset(f"shards/{s}.csv") for s in GRAPH.shards("train") + GRAPH.shards("val")],
    log:
        log_of("index_images", "index"),
    benchmark:
        bench_of("index_images", "index")
    retries: 0  # report a data set's fault once, on a cluster too
    conda:
        "../envs/wsss.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        settings=settings("index_images"),
        code=code("index_images"),
        # a function: jobs of other rules on a cluster's nodes need not list the data set
        listing=lambda w: source_of(GRAPH.config.dataset).listing(),
    message:
        "checking every image of the data set and writing its index"
    shell:
        "wsss index_images --settings {params.settings:q} --workers {threads} --output {output.index:q}"
        " --log {log:q}"
