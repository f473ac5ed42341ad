"""A run's processes: started in its folder, and seen to their end.

    lenrl train > command > supervise > supervisor > accelerate launch > worker, one a rank > lenrl.run_process

`run_folder` says who may use the folder and what belongs there, `environment` where the run ran. Nothing is imported
here: a supervisor lives as long as the run and must stay small.
"""
