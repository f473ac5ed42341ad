"""The library as Python calls it; `import lenrl` gives its names, and loads them when they are used.

    verbs          what the command line's verbs do
    runs           train and sweep, which launch processes
    methods        a method as a caller names it
    rewards        TRL's reward functions: verdict, or named parts of the reward
    trl_arguments  TRL's arguments as a recipe
    leg            one leg of a script's run: its folder, where it starts, what it leaves
    from_trl       `LenrlTrainer`, which takes what TRL's `GRPOTrainer` takes

Nothing is imported here.
"""
